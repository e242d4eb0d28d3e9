// The two forms of a bundle: a folder and a zip file.
#pragma once

#include <memory>
#include <string>

#include "bundle/bundle.hpp"
#include "bundle/files.hpp"

namespace samedge {

// path: as the user gave it; name: its last part, for messages. Throw Failure(BUNDLE, MEMORY).
std::shared_ptr<const Bundle> open_folder(const std::string &path, const std::string &name);
std::shared_ptr<const Bundle> open_zip(const std::string &path, const std::string &name, Descriptor file,
                                       std::uint64_t size);

}  // namespace samedge
