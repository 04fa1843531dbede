/** What a person would ask of these tables. Each question runs as the same text on our server and on plain DuckDB. */

/** @typedef {{readonly title: string, readonly sql: string}} Question */

/** @type {readonly Question[]} */
export const QUESTIONS = [
  {
    title: 'Is everything there?',
    sql: `SELECT count(*) AS flights, sum(delay) AS minutes_late, sum(distance) AS miles, count(DISTINCT origin) AS airports,
                 strftime(min(timestamp), '%Y-%m-%d %H:%M') AS first, strftime(max(timestamp), '%Y-%m-%d %H:%M') AS last
          FROM demo_flights`,
  },
  {
    title: 'Which airports are the busiest?',
    sql: `SELECT a.id AS airport, a.city, a.state, count(*) AS departures, round(avg(f.delay), 1) AS average_delay, max(f.delay) AS worst_delay
          FROM demo_flights f JOIN demo_airports a ON a.id = f.origin
          GROUP BY ALL ORDER BY departures DESC, airport LIMIT 10`,
  },
  {
    title: 'At what hour do flights run late?',
    sql: `SELECT hour(timestamp) AS hour, count(*) AS flights, round(avg(delay), 1) AS average_delay,
                 round(100.0 * count(*) FILTER (WHERE delay > 15) / count(*), 1)::DOUBLE AS late_percent
          FROM demo_flights GROUP BY hour ORDER BY hour`,
  },
  {
    title: 'Which days saw the most flights?',
    sql: `SELECT strftime(timestamp, '%Y-%m-%d') AS day, dayname(any_value(timestamp)) AS weekday, count(*) AS flights, sum(distance) AS miles
          FROM demo_flights GROUP BY day ORDER BY flights DESC, day LIMIT 7`,
  },
  {
    title: 'Which routes are the most delayed, among those flown a thousand times?',
    sql: `SELECT origin, destination, any_value(distance) AS miles, count(*) AS flights, round(avg(delay), 1) AS average_delay,
                 quantile_cont(delay, 0.9) AS nine_of_ten_within
          FROM demo_flights GROUP BY origin, destination HAVING count(*) >= 1000
          ORDER BY avg(delay) DESC, origin, destination LIMIT 8`,
  },
  {
    title: 'Are departures later in months that are usually wet?',
    sql: `WITH usual AS (
            SELECT location, month(timestamp) AS month, round(avg(precipitation), 2) AS rain_mm_a_day, round(avg(temp_max), 1) AS high_celsius
            FROM demo_weather GROUP BY ALL
          ), departures AS (
            SELECT CASE origin WHEN 'SEA' THEN 'Seattle' ELSE 'New York' END AS location, month(timestamp) AS month,
                   count(*) AS flights, round(avg(delay), 1) AS average_delay
            FROM demo_flights WHERE origin IN ('SEA', 'JFK', 'LGA') AND timestamp < '2001-07-01' GROUP BY ALL
          )
          SELECT location, month, rain_mm_a_day, high_celsius, flights, average_delay
          FROM usual JOIN departures USING (location, month) ORDER BY location, month`,
  },
  {
    title: 'Which strong earthquakes struck within 150 km of an American airport?',
    sql: `SELECT q.magnitude, q.place, strftime(q.timestamp, '%Y-%m-%d %H:%M') AS utc, a.id AS airport, a.name AS nearest,
                 round(12742 * asin(sqrt(sin(radians(a.latitude - q.latitude) / 2) ** 2
                   + cos(radians(q.latitude)) * cos(radians(a.latitude)) * sin(radians(a.longitude - q.longitude) / 2) ** 2))) AS km
          FROM demo_earthquakes q, demo_airports a
          WHERE q.magnitude >= 3 AND km < 150
          QUALIFY row_number() OVER (PARTITION BY q.id ORDER BY km, a.id) = 1
          ORDER BY q.magnitude DESC, q.id LIMIT 8`,
  },
];
