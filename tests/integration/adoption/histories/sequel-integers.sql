-- As Sequel 5.63.0 made it, for the migrations people and pets.
CREATE TABLE public.schema_info (
    version integer DEFAULT 0 NOT NULL
);

INSERT INTO public.schema_info VALUES (2);

