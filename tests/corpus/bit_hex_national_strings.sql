SELECT B'01', b'1', X'1F', x'aB', N'a;b', n'';
SELECT 1;
