SELECT $a$ ; $b$ ; $$ ; $a $ ; $a$, $b$;$b$;
SELECT $body$ $bod$ $$ $body $ ; $body$;
SELECT $_1$;$_1$, $A$ $a$ ; $A$;
