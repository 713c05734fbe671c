CREATE FUNCTION f() RETURNS SETOF date LANGUAGE sql
BEGIN ATOMIC
  SELECT begin FROM t;
  SELECT t.end, t.case, 1 AS begin, 2 AS end, 3 end, begin atomic FROM t;
  SELECT CASE WHEN begin > 1 THEN begin ELSE t.end END FROM t AS begin;
  SELECT 1; -- END
END;
CREATE TABLE later (begin int);
