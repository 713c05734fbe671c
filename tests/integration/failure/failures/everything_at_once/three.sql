CREATE TABLE three (id bigint);
