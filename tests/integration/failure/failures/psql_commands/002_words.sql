\copy words FROM 'words.csv' CSV
SELECT 'CREATE TABLE t (id int)' \gexec
  \echo done
