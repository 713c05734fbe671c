SELECT 'é́ ก็ ê' AS word, FORM;
