SELECT 'a\', ';', '\';
SELECT '\\';
