SELECT 'a;'
  'b;' -- c;
  'd\';
SELECT 'e' -- f
	'g;';
