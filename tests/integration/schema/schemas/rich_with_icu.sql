-- What only a server with the library ICU has.
CREATE COLLATION exact (PROVIDER = icu, LOCALE = 'de-u-co-phonebk', DETERMINISTIC = false);
