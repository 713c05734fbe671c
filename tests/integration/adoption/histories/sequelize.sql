-- As sequelize-cli 6.6.5 made it, for the migrations people and pets.
CREATE TABLE public."SequelizeMeta" (
    name character varying(255) NOT NULL
);

INSERT INTO public."SequelizeMeta" VALUES ('20240101000001-people.js');
INSERT INTO public."SequelizeMeta" VALUES ('20240101000002-pets.js');

ALTER TABLE ONLY public."SequelizeMeta"
    ADD CONSTRAINT "SequelizeMeta_pkey" PRIMARY KEY (name);

