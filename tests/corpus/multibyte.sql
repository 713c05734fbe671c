SELECT 'ünïcødé; 日本語; 😀', $$😀;$$ AS "日;"; -- 日;
SELECT 1 AS größe, 2 AS ñ, 3 AS 日本;
/* 😀; */ SELECT 4 AS 😀;
