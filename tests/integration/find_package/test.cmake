# SPDX-License-Identifier: Apache-2.0
# Installs the library of BUILD_DIR below WORK_DIR, and builds and runs with it
# the project in this folder, which knows nothing but the prefix.

function(run)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output
    COMMAND_ECHO STDOUT ECHO_OUTPUT_VARIABLE COMMAND_ERROR_IS_FATAL ANY)
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --component library
    --prefix ${WORK_DIR}/prefix)
run(${CMAKE_COMMAND} -G ${GENERATOR}
    -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK_DIR}/build
    -D CMAKE_PREFIX_PATH=${WORK_DIR}/prefix
    -D CMAKE_CXX_COMPILER=${CXX_COMPILER} -D CMAKE_CXX_FLAGS=${CXX_FLAGS})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/consumer)
if(NOT output STREQUAL "blocks: 1 2\n")
  message(FATAL_ERROR "unexpected output: ${output}")
endif()

# What is installed is the contract, and nothing internal.
file(GLOB_RECURSE headers RELATIVE ${WORK_DIR}/prefix ${WORK_DIR}/prefix/*.h)
list(FILTER headers EXCLUDE REGEX "^include/pagedkv/[^/]+$")
if(headers)
  message(FATAL_ERROR "installed beside include/pagedkv: ${headers}")
endif()
