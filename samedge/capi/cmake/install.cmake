# What `cmake --install` puts where. The folder may be moved afterwards: nothing in it knows where it stood.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Where the installed library looks for OpenVINO's besides its own folder and those of the system. For a package
# that brings OpenVINO along: -DSAMEDGE_OPENVINO_RPATH='$ORIGIN/openvino'; empty for one that does not.
set(openvino_folder "")
if(SAMEDGE_OPENVINO AND NOT SAMEDGE_STAND_IN)
  foreach(kind IN ITEMS RELEASE RELWITHDEBINFO NONE "")
    string(REGEX REPLACE "_$" "" property "IMPORTED_LOCATION_${kind}")
    get_target_property(openvino_library openvino::runtime "${property}")
    if(openvino_library)
      get_filename_component(openvino_folder "${openvino_library}" DIRECTORY)
      break()
    endif()
  endforeach()
  if(openvino_folder IN_LIST CMAKE_PLATFORM_IMPLICIT_LINK_DIRECTORIES)
    set(openvino_folder "")
  endif()
endif()
set(SAMEDGE_OPENVINO_RPATH "${openvino_folder}" CACHE STRING
    "Where the installed library looks for OpenVINO's, absolute or from \$ORIGIN")
set_target_properties(samedge PROPERTIES INSTALL_RPATH "$ORIGIN;${SAMEDGE_OPENVINO_RPATH}"
                                         EXPORT_NAME samedge)

install(TARGETS samedge EXPORT samedge-targets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
foreach(file IN ITEMS LICENSE NOTICE)
  install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/../../${file}" DESTINATION "${CMAKE_INSTALL_DOCDIR}" OPTIONAL)
endforeach()

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/samedge")
install(EXPORT samedge-targets NAMESPACE samedge:: DESTINATION "${package}")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/samedge-config.cmake.in"
                              "${CMAKE_CURRENT_BINARY_DIR}/samedge-config.cmake" INSTALL_DESTINATION "${package}"
                              NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/samedge-config-version.cmake"
                                 COMPATIBILITY SameMajorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/samedge-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/samedge-config-version.cmake" DESTINATION "${package}")

# In samedge.pc all folders are told from its own one.
set(pc "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH pc_prefix "${pc}" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH pc_include "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
file(RELATIVE_PATH pc_lib "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file("${CMAKE_CURRENT_LIST_DIR}/samedge.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/samedge.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/samedge.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
