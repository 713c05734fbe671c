SELECT date'2020-01-01', time'10:00', 1 AS e, timestamptz '2020-01-01';
SELECT bool'true', name'\', text'\';
SELECT 2;
