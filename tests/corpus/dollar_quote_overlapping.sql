SELECT $a$ $a $a$, $b$$a$$b$, $c$$$$c$;
SELECT $d$ ;$dd$ ;$d$;
