-- A template: syncd/sink_sql.h says what stands in braces.
-- DO takes no parameters, so the rows wait in settings that end with the transaction.
SELECT {settings}
