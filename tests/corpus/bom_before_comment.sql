-- a

SELECT 1;
