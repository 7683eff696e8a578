-- $1 the type of a column as the route has it: fails where Postgres cannot read it as the name of a type at all.
SELECT to_regtype($1::text)
