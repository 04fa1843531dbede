/**
 * The data sets, from the npm package vega-datasets: each with the SELECT that reads its file. The same SELECT gives the rows we send to
 * the server and, as a view, what DuckDB answers the questions from.
 */
import path from 'node:path';

/**
 * @typedef {object} Source
 * @property {string} table
 * @property {string} select rows as the table has them; `timestamp` is a UTC instant
 * @property {object} config of the table
 */

/** @param {string} installed the folder whose node_modules has vega-datasets @returns {readonly Source[]} */
export function sourcesIn(installed) {
  const file = (name) => `'${path.join(installed, 'node_modules', 'vega-datasets', 'data', name).replaceAll("'", "''")}'`;
  return [
    {
      table: 'demo_airports',
      config: {},
      select: `SELECT iata AS id, make_timestamptz(0) AS timestamp, * EXCLUDE (iata) FROM read_csv(${file('airports.csv')})`,
    },
    {
      table: 'demo_weather',
      config: {},
      select: `SELECT lower(replace(location, ' ', '-')) || '-' || date AS id, make_timestamptz(epoch_us(date)) AS timestamp, * EXCLUDE (date)
               FROM read_csv(${file('weather.csv')})`,
    },
    {
      table: 'demo_earthquakes',
      config: {},
      select: `SELECT f.id, make_timestamptz(f.properties.time * 1000) AS timestamp, f.properties.mag AS magnitude, f.properties.place,
                      f.geometry.coordinates[1] AS longitude, f.geometry.coordinates[2] AS latitude, f.geometry.coordinates[3] AS depth_km
               FROM (SELECT unnest(features) AS f FROM read_json(${file('earthquakes.json')}, maximum_object_size = 50000000))`,
    },
    {
      // The rows have no id of their own: the table makes one for each.
      table: 'demo_flights',
      config: { auto_generate_id: true, id_strategy: 'uuid' },
      select: `SELECT make_timestamptz(epoch_us(date)) AS timestamp, delay, distance, origin, destination FROM read_parquet(${file('flights-3m.parquet')})`,
    },
  ];
}
