-- Nobody may be there yet
DO $$
BEGIN
    IF EXISTS (SELECT FROM users) THEN
        RAISE EXCEPTION 'there are users already'
            USING DETAIL = 'One is enough.', HINT = 'Remove them.';
    END IF;
END
$$;
