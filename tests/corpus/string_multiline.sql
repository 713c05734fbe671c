SELECT 'first;
-- not a comment
/* nor this
', 2;
SELECT 3;
