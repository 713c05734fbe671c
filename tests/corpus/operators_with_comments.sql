SELECT 1 +-- a;
 2;
SELECT 2 */* b; */ 3;
SELECT 1 - -1, 2 -(-- c;
 3);
SELECT 4 /-- d;
 2, 6/2, 3*/* e; */-/**/1;
SELECT 1<-- f;
-2, 1=-1;
