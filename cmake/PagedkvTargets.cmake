# SPDX-License-Identifier: Apache-2.0
# One call per module: pagedkv_library, pagedkv_executable, pagedkv_test,
# pagedkv_fuzz_target, pagedkv_benchmark. Every source is listed by name.

function(_pagedkv_common target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  set(warnings -Wall -Wextra -Wconversion
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
    $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
    $<$<BOOL:${PAGEDKV_WERROR}>:-Werror>)
  target_compile_options(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")
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

# pagedkv_test(NAME <name> SOURCES <file>... DEPS <target>... [LABEL <label>]
#              [FIXTURE <fixture>])
# LABEL is `thread` for what the thread sanitizer is to run, `gpu` for what needs
# a device. The module is a label as well: `ctest -L scheduler`. FIXTURE is what
# another test sets up for this one.
function(pagedkv_test)
  cmake_parse_arguments(arg "" "NAME;LABEL;FIXTURE" "SOURCES;DEPS" ${ARGN})
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
  if(arg_FIXTURE)
    list(APPEND properties FIXTURES_REQUIRED ${arg_FIXTURE})
  endif()
  if(arg_LABEL STREQUAL "thread")
    add_dependencies(thread_tests ${arg_NAME})
  endif()
  gtest_discover_tests(${arg_NAME} NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60
    PROPERTIES ${properties})
endfunction()

# pagedkv_fuzz_target(NAME <name>_fuzz SOURCES <file>... DEPS <target>...)
# The sources define what tests/fuzz/fuzz_target.h declares. A test always runs
# it on mutations of its seeds; with PAGEDKV_BUILD_FUZZ there is a program for
# libFuzzer as well, in bin/ of the build folder.
function(pagedkv_fuzz_target)
  cmake_parse_arguments(arg "" "NAME" "SOURCES;DEPS" ${ARGN})
  set(folder ${PROJECT_SOURCE_DIR}/tests/fuzz)
  add_executable(${arg_NAME}_test ${arg_SOURCES} ${folder}/mutation_test.cc)
  _pagedkv_common(${arg_NAME}_test)
  target_link_libraries(${arg_NAME}_test PRIVATE
    ${arg_DEPS} pagedkv::base GTest::gtest_main)
  add_test(NAME ${arg_NAME}_test COMMAND ${arg_NAME}_test)
  set_tests_properties(${arg_NAME}_test PROPERTIES TIMEOUT 600 LABELS fuzz)
  if(PAGEDKV_BUILD_FUZZ)
    pagedkv_executable(NAME ${arg_NAME}
      SOURCES ${arg_SOURCES} ${folder}/write_seeds.cc
      DEPS ${arg_DEPS} pagedkv::base)
    target_link_options(${arg_NAME} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzz_targets ${arg_NAME})
  endif()
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
