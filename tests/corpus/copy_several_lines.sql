COPY
-- from where;
copied /* stdin; */
FROM
STDIN
WITH (
 NULL ';'
)
;
a'
\.
SELECT 1;
