create function corpus_case(a int) returns text
begin atomic
  select case when a > 1 then case a when 2 then 'two;' else 'END;' end else 'small' end;
  select (case a when 1 then 'x' end) || ';';
end;
drop function corpus_case;
