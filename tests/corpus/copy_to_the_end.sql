SELECT 1;
COPY copied FROM STDIN;
one;
'two
