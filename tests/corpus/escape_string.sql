SELECT E'\';', e'\\', E'''', E'\n;\t', E'\x41', E'\u00e9;', E'\101';
SELECT E'a
\'b;
';
