CREATE TABLE users (id bigint);
/* the rest is /* not */ needed
CREATE TABLE tokens (id bigint);
