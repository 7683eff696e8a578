-- A template: syncd/sink_sql.h says what stands in braces.
COPY {table} ({columns}) FROM STDIN
