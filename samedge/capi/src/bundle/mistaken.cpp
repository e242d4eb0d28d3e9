#include "bundle/mistaken.hpp"

#include "base/failure.hpp"
#include "bundle/names.hpp"

namespace samedge {

namespace {

std::string quoted(const std::string &path) {
  const bool plain =
      path.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") ==
      std::string::npos;
  return plain ? shown(path) : "'" + shown(path) + "'";
}

// The last part of a path without its ending, and the ending in small letters.
void split_name(const std::string &path, std::string &stem, std::string &ending) {
  stem = path.substr(path.rfind('/') + 1);
  const std::size_t dot = stem.rfind('.');
  ending = dot == std::string::npos || dot == 0 ? "" : lower(stem.substr(dot));
  if (!ending.empty()) stem.resize(dot);
}

std::uint64_t little_endian(std::string_view bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8U | static_cast<unsigned char>(bytes[i]);
  return value;
}

bool is_checkpoint(std::string_view head, std::uint64_t size, const std::string &ending) noexcept {
  if (head.size() >= 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) return true;  // a pickle
  if (head.size() > 8 && head[8] == '{' && little_endian(head.substr(0, 8)) < size)
    return true;  // safetensors
  // A zip archive that was cut off has no table of contents; torch.save writes FOLDER/data.pkl first.
  const bool torn = begins_with(head, std::string_view("PK\x03\x04", 4)) &&
                    (ending == ".pth" || ending == ".pt" || ending == ".ckpt");
  return torn || (begins_with(head, "PK") && head.find("/data.pkl") != std::string_view::npos);
}

bool is_picture(std::string_view head) noexcept {
  for (const std::string_view mark :
       {std::string_view("\x89PNG"), std::string_view("\xFF\xD8\xFF"), std::string_view("GIF8"),
        std::string_view("BM"), std::string_view("II*\0", 4), std::string_view("MM\0*", 4)})
    if (begins_with(head, mark)) return true;
  return head.substr(0, 132).size() == 132 && head.substr(128, 4) == "DICM";
}

}  // namespace

std::string mistaken_for_a_bundle(const std::string &path, std::string_view head, std::uint64_t size) {
  std::string stem, ending;
  split_name(path, stem, ending);
  const std::string output = quoted(stem + ".samedge");
  if (is_checkpoint(head, size, ending))
    return "this is a PyTorch checkpoint: samedge export " + quoted(path) + " -o " + output;
  if (ending == ".onnx")
    return "this is an ONNX graph, and samedge runs bundles, which hold two and a manifest: samedge export "
           "CHECKPOINT -o " +
           output;
  for (const char *engine : {"ftrt", "trtr", "ptrt", "vtrt"})
    if (begins_with(head, engine))
      return "this is an engine. Give the bundle that it was built from, which finds its engines: samedge "
             "inspect " +
             quoted(path) + " tells what is in it";
  if (begins_with(head, "{"))
    return "this is a text file; give the folder that its manifest.json stands in, or the zip file";
  if (is_picture(head)) return "this is a picture; give the bundle, and the picture as a frame";
  return "";
}

}  // namespace samedge
