# What is installed: library, headers, CMake package, pkg-config file. A wheel holds the same under rtrnn/, but for the static library,
# which would double it.
include(CMakePackageConfigHelpers)
if(SKBUILD)
  # In the wheel the library has one name, since wheels hold no links; a DLL is found beside the extension modules only.
  set(lib_dir rtrnn/lib)
  install(TARGETS rtrnn EXPORT rtrnn LIBRARY DESTINATION ${lib_dir} RUNTIME DESTINATION rtrnn ARCHIVE DESTINATION ${lib_dir})
else()
  include(GNUInstallDirs)
  set(lib_dir ${CMAKE_INSTALL_LIBDIR})
  set_target_properties(rtrnn PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
  install(TARGETS rtrnn rtrnn_static EXPORT rtrnn)
endif()
install(DIRECTORY include/ DESTINATION ${installed_headers})

install(EXPORT rtrnn NAMESPACE rtrnn:: FILE rtrnnTargets.cmake DESTINATION ${lib_dir}/cmake/rtrnn)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/rtrnnConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES rtrnnConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/rtrnnConfigVersion.cmake DESTINATION ${lib_dir}/cmake/rtrnn)

# From the .pc file to the headers and the library, wherever all of it is moved to.
file(RELATIVE_PATH rtrnn_to_include /${lib_dir}/pkgconfig /${installed_headers})
configure_file(rtrnn.pc.in rtrnn.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rtrnn.pc DESTINATION ${lib_dir}/pkgconfig)
