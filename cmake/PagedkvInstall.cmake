# SPDX-License-Identifier: Apache-2.0
# What find_package(pagedkv) finds: the target pagedkv::pagedkv, the modules
# behind it, and the public headers. Component `library`.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pagedkv)
install(TARGETS pagedkv pagedkv_base pagedkv_allocator pagedkv_block_table
                pagedkv_scheduler
  EXPORT pagedkvTargets
  ARCHIVE COMPONENT library
  FILE_SET HEADERS COMPONENT library)
install(EXPORT pagedkvTargets NAMESPACE pagedkv:: DESTINATION ${package_dir}
  COMPONENT library)
configure_package_config_file(cmake/pagedkvConfig.cmake.in pagedkvConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(pagedkvConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/pagedkvConfig.cmake
              ${PROJECT_BINARY_DIR}/pagedkvConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT library)
