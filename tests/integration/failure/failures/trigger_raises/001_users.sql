CREATE TABLE users (id bigint PRIMARY KEY, email text);
CREATE FUNCTION no_capitals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.email <> lower(NEW.email) THEN
        RAISE EXCEPTION 'capital letters in %', NEW.email USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER no_capitals BEFORE INSERT ON users
FOR EACH ROW EXECUTE FUNCTION no_capitals();
