-- As Liquibase 4.28.0 made it, for the migrations people and pets.
CREATE TABLE public.databasechangelog (
    id character varying(255) NOT NULL,
    author character varying(255) NOT NULL,
    filename character varying(255) NOT NULL,
    dateexecuted timestamp without time zone NOT NULL,
    orderexecuted integer NOT NULL,
    exectype character varying(10) NOT NULL,
    md5sum character varying(35),
    description character varying(255),
    comments character varying(255),
    tag character varying(255),
    liquibase character varying(20),
    contexts character varying(255),
    labels character varying(255),
    deployment_id character varying(10)
);

CREATE TABLE public.databasechangeloglock (
    id integer NOT NULL,
    locked boolean NOT NULL,
    lockgranted timestamp without time zone,
    lockedby character varying(255)
);

INSERT INTO public.databasechangelog VALUES ('raw', 'includeAll', 'changes/001_people.sql', '2026-11-30 09:10:32.228252', 1, 'EXECUTED', '9:7f9a8e89154777d2327af2a796199d57', 'sql', '', NULL, '4.28.0', NULL, NULL, '6029832151');
INSERT INTO public.databasechangelog VALUES ('raw', 'includeAll', 'changes/002_pets.sql', '2026-11-30 09:10:32.239994', 2, 'EXECUTED', '9:b0332625ea5922ba669b873f590bb14b', 'sql', '', NULL, '4.28.0', NULL, NULL, '6029832151');

INSERT INTO public.databasechangeloglock VALUES (1, false, NULL, NULL);

ALTER TABLE ONLY public.databasechangeloglock
    ADD CONSTRAINT databasechangeloglock_pkey PRIMARY KEY (id);

