CREATE EXTENSION pageinspect;
