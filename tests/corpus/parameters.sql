PREPARE corpus_q (int, int) AS SELECT $1 + $2, ($1), ARRAY[$1,$2];
EXECUTE corpus_q (1, 2);
DEALLOCATE corpus_q;
