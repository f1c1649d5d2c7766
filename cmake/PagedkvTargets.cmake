# SPDX-License-Identifier: Apache-2.0
# One call per module: pagedkv_library, pagedkv_executable, pagedkv_test,
# pagedkv_benchmark. Every source is listed by name.

function(_pagedkv_common target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
    $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
    $<$<BOOL:${PAGEDKV_WERROR}>:-Werror>)
endfunction()

# pagedkv_library(NAME <module> PUBLIC_HEADERS <file>... SOURCES <file>...
#                 DEPS <target>... PRIVATE_DEPS <target>...)
# PUBLIC_HEADERS are files of include/pagedkv. The target is pagedkv::<module>.
function(pagedkv_library)
  cmake_parse_arguments(arg "" "NAME" "PUBLIC_HEADERS;SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target pagedkv_${arg_NAME})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(pagedkv::${arg_NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${arg_NAME})
  _pagedkv_common(${target})
  if(arg_PUBLIC_HEADERS)
    list(TRANSFORM arg_PUBLIC_HEADERS PREPEND ${PROJECT_SOURCE_DIR}/include/pagedkv/)
    target_sources(${target} PUBLIC FILE_SET HEADERS
      BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${arg_PUBLIC_HEADERS})
  endif()
  target_link_libraries(${target} PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
endfunction()

# pagedkv_test(NAME <name> SOURCES <file>... DEPS <target>... [LABEL <label>])
# LABEL is `thread` for what the thread sanitizer is to run, `gpu` for what needs
# a device. The module is a label as well: `ctest -L scheduler`.
function(pagedkv_test)
  cmake_parse_arguments(arg "" "NAME;LABEL" "SOURCES;DEPS" ${ARGN})
  add_executable(${arg_NAME} ${arg_SOURCES})
  _pagedkv_common(${arg_NAME})
  target_link_libraries(${arg_NAME} PRIVATE ${arg_DEPS} GTest::gmock GTest::gtest_main)
  file(RELATIVE_PATH module ${PROJECT_SOURCE_DIR}/tests ${CMAKE_CURRENT_SOURCE_DIR})
  string(REGEX REPLACE "/.*" "" module ${module})
  set_property(DIRECTORY PROPERTY LABELS ${module})
  set(properties TIMEOUT 600)
  if(arg_LABEL)
    list(APPEND properties LABELS ${arg_LABEL})
  endif()
  if(arg_LABEL STREQUAL "thread")
    add_dependencies(thread_tests ${arg_NAME})
  endif()
  gtest_discover_tests(${arg_NAME} NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60
    PROPERTIES ${properties})
endfunction()

# pagedkv_benchmark(NAME <name> SOURCES <file>... DEPS <target>...)
function(pagedkv_benchmark)
  cmake_parse_arguments(arg "" "NAME" "SOURCES;DEPS" ${ARGN})
  add_executable(${arg_NAME} ${arg_SOURCES})
  _pagedkv_common(${arg_NAME})
  target_link_libraries(${arg_NAME} PRIVATE ${arg_DEPS} benchmark::benchmark_main)
endfunction()

# pagedkv_executable(NAME <name> SOURCES <file>... DEPS <target>...)
# In bin/ of the build folder.
function(pagedkv_executable)
  cmake_parse_arguments(arg "" "NAME" "SOURCES;DEPS" ${ARGN})
  add_executable(${arg_NAME} ${arg_SOURCES})
  _pagedkv_common(${arg_NAME})
  set_target_properties(${arg_NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
  target_link_libraries(${arg_NAME} PRIVATE ${arg_DEPS})
endfunction()
