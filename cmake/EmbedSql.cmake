# embed_sql(target DIR...): every NNN_what.sql / name.sql below becomes a C string at build time, so
# that no statement is ever pieced together in C.  "sql/queries/guard.sql" is sql_guard in sql/queries.h.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(embed_sql target header directory)
    file(GLOB files CONFIGURE_DEPENDS "${directory}/*.sql")
    set(out "${PROJECT_BINARY_DIR}/generated/sql")
    add_custom_command(
        OUTPUT "${out}/${header}.h" "${out}/${header}.c"
        COMMAND ${Python3_EXECUTABLE} "${PROJECT_SOURCE_DIR}/cmake/embed_sql.py" "${header}" "${out}" ${files}
        DEPENDS ${files} "${PROJECT_SOURCE_DIR}/cmake/embed_sql.py"
        VERBATIM)
    target_sources(${target} PRIVATE "${out}/${header}.c" "${out}/${header}.h")
endfunction()
