-- header; with 'quotes
--
--;
SELECT 1 -- a;b 'c
  + 2; -- d;
--e
SELECT 3--f;
;--g