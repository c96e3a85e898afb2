-- The table that examples/fuel reads. From this folder: psql "$FUEL_DSN" -f cars.sql
CREATE TABLE IF NOT EXISTS cars (
    name             text NOT NULL,
    miles_per_gallon double precision,
    cylinders        integer NOT NULL,
    displacement     double precision NOT NULL,
    horsepower       double precision,
    weight_in_lbs    integer NOT NULL,
    acceleration     double precision NOT NULL,
    year             integer NOT NULL,
    origin           text NOT NULL
);
TRUNCATE cars;
\copy cars FROM 'cars.csv' WITH (FORMAT csv, HEADER true)
