-- The names of stream servers, and where instances say, or said before they ended, that they are.
SELECT DISTINCT s.name, s.url
FROM ds_sync.instance i, unnest(i.servers, i.server_urls) AS s (name, url)
WHERE s.name IS NOT NULL AND s.url IS NOT NULL
ORDER BY s.name, s.url
