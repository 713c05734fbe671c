/* a; 'b */ SELECT /* c; */ 1 /**/;/***/ SELECT/* d
; */2 /* -- e */; /* f */
/*/;*/SELECT 3;
/* end; */