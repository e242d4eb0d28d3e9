#include "bundle/manifest.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/failure.hpp"
#include "base/hash.hpp"
#include "bundle/json.hpp"
#include "bundle/limits.hpp"
#include "bundle/names.hpp"
#include "bundle/node.hpp"
#include "bundle/printable.hpp"

namespace samedge {

namespace {

using nlohmann::json;

constexpr std::int64_t kSchema = 1;
constexpr std::size_t kDigits = 64;
constexpr std::string_view kDigestKey = "\"digest\": \"";
constexpr std::size_t kSeal = kDigestKey.size() + kDigits + 1;  // with its last quote

// Where the last digest's text begins; npos if there is none.
std::size_t last_seal(std::string_view data) noexcept {
  std::size_t last = std::string_view::npos;
  for (std::size_t at = data.find(kDigestKey); at != std::string_view::npos;) {
    const std::string_view digits = data.substr(at + kDigestKey.size(), kDigits + 1);
    const bool fits =
        digits.size() == kDigits + 1 && digits.back() == '"' &&
        digits.substr(0, kDigits).find_first_not_of("0123456789abcdef") == std::string_view::npos;
    if (fits) last = at;
    at = data.find(kDigestKey, at + (fits ? kSeal : 1));
  }
  return last;
}

void check_digest(std::string_view data) {
  const std::size_t seal = last_seal(data);
  if (seal == std::string_view::npos)
    fail(SAMEDGE_ERROR_BUNDLE, "%s has no 'digest'%s", kManifestFile, kExportAgain);
  const std::size_t start = seal + kDigestKey.size();
  std::string zeroed(data);  // as it was when its hash was taken
  zeroed.replace(start, kDigits, kDigits, '0');
  if (sha256_hex(zeroed.data(), zeroed.size()) != data.substr(start, kDigits))
    fail(SAMEDGE_ERROR_BUNDLE, "%s does not match its own digest%s", kManifestFile, kExportAgain);
}

void check_schema(const json &document) {
  const json &schema = Node(document, "").get("schema");
  if (is_count(schema, kSchema, kSchema)) return;
  if (is_count(schema, kSchema, INT64_MAX))
    fail(SAMEDGE_ERROR_BUNDLE,
         "the bundle has schema %s; this version of samedge reads schema %lld: install a "
         "newer libsamedge, or export the bundle again with the samedge of this one",
         shown_json(schema).c_str(), static_cast<long long>(kSchema));
  fail(SAMEDGE_ERROR_BUNDLE, "the bundle has schema %s, expected %lld%s", shown_json(schema).c_str(),
       static_cast<long long>(kSchema), kExportAgain);
}

std::vector<double> numbers(const Node &node, const char *key, int channels) {
  const json &values = node.list(key);
  if ((values.size() != static_cast<std::size_t>(channels) && values.size() != 3) ||
      !std::all_of(values.begin(), values.end(), is_number))
    node.refuse(key, "one number per channel", values);
  return values.get<std::vector<double>>();
}

std::vector<std::string> class_names(const Node &node) {
  const json &names = node.list("classes");
  if (names.size() > 256) node.refuse_words("classes", "at most 256 names", text("%zu names", names.size()));
  std::vector<std::string> found;
  for (const json &name : names) {
    const auto *line = name.get_ptr<const json::string_t *>();
    if (line == nullptr || !is_line(*line, 1, 100)) node.refuse("classes", "printable names", name);
    found.push_back(*line);
  }
  return found;
}

std::vector<int> mask_numbers(const Node &node) {
  const json &masks = node.list("multi_masks");
  if (masks.size() > kNetworkMasks)
    node.refuse_words("multi_masks", text("at most %zu masks", kNetworkMasks).c_str(),
                      text("%zu masks", masks.size()));
  std::vector<int> found;
  for (const json &mask : masks) {
    if (!is_count(mask, 0, 255)) node.refuse("multi_masks", "mask numbers", mask);
    found.push_back(mask.get<int>());
  }
  return found;
}

void set_prompts(const Node &node, Family &family) {
  for (const json &prompt : node.list("prompts")) {
    if (prompt == "point") family.takes_points = true;
    else if (prompt == "box") family.takes_boxes = true;
    else if (prompt == "mask") family.takes_masks = true;
    else node.refuse("prompts", "point, box or mask", prompt);
  }
}

// A record with a field that this version does not know means something that it would not do.
void check_fields(const Node &node) {
  static const std::set<std::string> known = {
      "name",        "title",        "input_size",    "channels",  "value_scale",  "mean",
      "std",         "resize",       "prompts",       "pad_point", "single_mask",  "interpolation",
      "multi_masks", "upscale_size", "normalisation", "via",       "classes",      "exclusive",
      "mask_values", "threshold",    "stride",        "slices",    "whole_volume", "mask_interpolation",
      "whole_boxes"};
  std::string odd;
  for (const auto &field : node.data().items())
    if (known.count(field.key()) == 0) odd += (odd.empty() ? "" : ", ") + field.key();
  for (const std::string &field : known)
    if (!node.has(field)) odd += (odd.empty() ? "" : ", ") + field;
  if (!odd.empty())
    fail(SAMEDGE_ERROR_BUNDLE,
         "the family record has missing or unknown fields: %s; the bundle was written by "
         "another version of samedge: export it again",
         shown(odd).c_str());
}

// A record with the fields that came later: older records lack them, and meant this.
json completed(const json &record) {
  json full = {{"whole_boxes", false}};
  full.update(record);
  return full;
}

Family family_from(const json &data) {
  const json full = completed(Node(data, "family").data());
  const Node node(full, "family");
  Family family;
  family.name = node.text("name");
  family.title = node.text("title");
  family.input_size = static_cast<int>(node.count("input_size", 1, kNetworkSide));
  family.upscale_size = static_cast<int>(node.count("upscale_size", 1, kNetworkSide));
  family.stride = static_cast<int>(node.count("stride", 1, kNetworkSide));
  family.via = static_cast<int>(node.count("via", 0, kNetworkSide));
  family.single_mask = static_cast<int>(node.count("single_mask", 0, 255));
  const std::int64_t pixels = std::int64_t{family.input_size} * family.input_size;
  family.slices =
      static_cast<int>(node.count("slices", 1, std::max<std::int64_t>(1, kNetworkValues / pixels)));
  const json &channels = node.get("channels");
  if (!is_count(channels, 1, 1) && !is_count(channels, 3, 3))
    node.refuse("channels", "one of 1, 3", channels);
  family.channels = channels.get<int>();
  family.longest_side = node.choice("resize", {"stretch", "longest_side"}) == 1;
  family.interpolation =
      static_cast<Interpolation>(node.choice("interpolation", {"pil", "cubic", "zoom", "bilinear", "area"}));
  family.min_max = node.choice("normalisation", {"fixed", "min_max"}) == 1;
  family.probability = node.choice("mask_values", {"logit", "probability"}) == 1;
  family.nearest = node.choice("mask_interpolation", {"bilinear", "nearest"}) == 1;
  family.always_pad = node.choice("pad_point", {"always", "no_box"}) == 0;
  family.exclusive = node.flag("exclusive");
  family.whole_volume = node.flag("whole_volume");
  family.whole_boxes = node.flag("whole_boxes");
  family.value_scale = node.number("value_scale");
  family.threshold = node.number("threshold");
  family.mean = numbers(node, "mean", family.channels);
  family.std = numbers(node, "std", family.channels);
  if (!(family.value_scale > 0)) node.refuse("value_scale", "a positive number", node.get("value_scale"));
  for (const double value : family.std)
    if (!(value > 0)) node.refuse("std", "positive numbers", node.get("std"));
  set_prompts(node, family);
  family.multi_masks = mask_numbers(node);
  family.classes = class_names(node);
  if (family.exclusive && family.classes.size() < 2) node.refuse("exclusive", "false without classes", true);
  check_fields(node);
  return family;
}

Variant variant_from(const Node &node) {
  Variant variant;
  variant.vit = node.text("vit");
  variant.input_size = static_cast<int>(node.count("input_size", 1, kNetworkSide));
  variant.low_res = static_cast<int>(node.count("low_res", 1, kLowRes));
  variant.grid = static_cast<int>(node.count("grid", 1, kLowRes));
  variant.channels = static_cast<int>(node.count("channels", 1, kChannels));
  if (node.has("prompt_dim") && is_count(node.get("prompt_dim"), 0, INT32_MAX))
    variant.prompt_dim = node.get("prompt_dim").get<int>();
  return variant;
}

std::map<std::string, FileEntry> files_from(const Node &node) {
  std::map<std::string, FileEntry> found;
  std::map<std::string, std::string> seen;  // by their small letters: two names that are one on some disks
  for (const auto &item : node.data().items()) {
    const std::string &name = item.key();
    if (!is_safe_name(name))
      fail(SAMEDGE_ERROR_BUNDLE,
           "unsafe file name in a bundle: '%s'; expected a relative name of letters, digits "
           "and ._+- with / between folders. The bundle is damaged or was tampered with: export it again",
           shown(name).c_str());
    const std::string folded = lower(name);
    const bool reserved = folded == kManifestFile || parts_of(folded)[0] == kEnginesFolder;
    const auto other = seen.find(folded);
    if (reserved || other != seen.end())
      fail(SAMEDGE_ERROR_BUNDLE, "the bundle's file '%s' collides with %s%s", name.c_str(),
           reserved ? "the names that samedge keeps for itself" : other->second.c_str(), kExportAgain);
    seen[folded] = name;
    const Node entry = node.node(name);
    FileEntry file;
    file.bytes = static_cast<std::uint64_t>(entry.count("bytes", 0, static_cast<std::int64_t>(kFileBytes)));
    const json &digest = entry.get("sha256");
    if (!is_hex(digest)) entry.refuse("sha256", "64 hexadecimal digits", digest);
    file.sha256 = digest.get<std::string>();
    found[name] = file;
  }
  for (const auto &item : seen)
    for (std::size_t end = item.first.find('/'); end != std::string::npos;
         end = item.first.find('/', end + 1))
      if (seen.count(item.first.substr(0, end)) != 0)
        fail(SAMEDGE_ERROR_BUNDLE, "the bundle's file %s stands below another file%s", item.second.c_str(),
             kExportAgain);
  return found;
}

// Python leaves types and axes that no graph of samedge's has to its check of the graph itself; here the
// engines rely on what the manifest says.
TensorSpec tensor_from(const Node &node) {
  static const std::map<std::string, Element> elements = {{"uint8", Element::u8},
                                                          {"int32", Element::i32},
                                                          {"int64", Element::i64},
                                                          {"float16", Element::f16},
                                                          {"float32", Element::f32}};
  TensorSpec spec;
  spec.name = node.text("name");
  const auto element = elements.find(node.text("dtype"));
  if (element == elements.end())
    node.refuse("dtype", "uint8, int32, int64, float16 or float32", node.get("dtype"));
  spec.element = element->second;
  const json &shape = node.list("shape");
  if (shape.size() > kGraphAxes)
    node.refuse_words("shape", text("at most %zu axes", kGraphAxes).c_str(), text("%zu axes", shape.size()));
  for (const json &side : shape) {
    const auto *free = side.get_ptr<const json::string_t *>();
    if (!is_count(side, 0, INT32_MAX) && (free == nullptr || !is_line(*free, 0, SIZE_MAX)))
      node.refuse("shape", "sizes or names of dynamic sizes", side);
    spec.shape.sides[spec.shape.rank++] = free == nullptr ? side.get<std::int64_t>() : -1;
  }
  return spec;
}

std::vector<TensorSpec> tensors_from(const Node &entry, const char *side) {
  std::vector<TensorSpec> found;
  for (const json &tensor : entry.list(side))
    found.push_back(tensor_from(Node(tensor, text("%s[%zu]", entry.at(side).c_str(), found.size()))));
  return found;
}

bool is_token(const std::string &text) noexcept {
  return !text.empty() && text.size() <= 32 &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
}

std::map<std::string, GraphEntry> graph_from(const Node &graph,
                                             const std::map<std::string, FileEntry> &files) {
  if (graph.data().empty()) graph.refuse_words("fp32", "at least one precision", "none");
  std::map<std::string, GraphEntry> found;
  for (const auto &item : graph.data().items()) {
    if (!is_token(item.key())) graph.refuse(item.key(), "a precision's name", item.key());
    const Node entry = graph.node(item.key());
    GraphEntry made;
    made.file = entry.text("file");
    const auto file = files.find(made.file);
    if (file == files.end()) entry.refuse("file", "a name that is listed in 'files'", made.file);
    const json &digest = entry.get("sha256");
    if (digest != file->second.sha256) entry.refuse("sha256", "the hash given in 'files'", digest);
    made.sha256 = file->second.sha256;
    made.io.inputs = tensors_from(entry, "inputs");
    made.io.outputs = tensors_from(entry, "outputs");
    found[item.key()] = std::move(made);
  }
  return found;
}

std::vector<std::string> questions_from(const Node &source) {
  source.text("format");
  std::size_t at = 0;
  for (const json &digest : source.list("sha256")) {
    if (!is_hex(digest)) source.refuse(text("sha256[%zu]", at), "64 hexadecimal digits", digest);
    ++at;
  }
  std::vector<std::string> found;
  if (!source.has("questions")) return found;
  for (const json &question : source.list("questions")) {
    const auto *line = question.get_ptr<const json::string_t *>();
    if (line == nullptr || !is_line(*line, 0, 2000))
      source.refuse(text("questions[%zu]", found.size()), "one line of printable text", question);
    found.push_back(*line);
  }
  return found;
}

std::vector<ParityRow> parity_from(const Node &top) {
  std::vector<ParityRow> rows;
  for (const json &row : top.list("parity")) {
    const Node entry(row, text("parity[%zu]", rows.size()));
    ParityRow made;
    made.backend = entry.text("backend");
    made.precision = entry.text("precision");
    made.passed = entry.flag("passed");
    rows.push_back(std::move(made));
  }
  return rows;
}

void set_calibration(const json &document, Manifest &manifest) {
  const auto record = document.find("calibration");
  if (record == document.end() || !record->is_object()) return;
  const auto source = record->find("source");
  if (source != record->end() && !source->is_null()) {
    const std::string said = source->is_string() ? source->get<std::string>() : shown_json(*source);
    manifest.calibration_source = said.empty() ? "?" : said;  // "" stands for none
  }
  const auto looks = record->find("looks");
  if (looks == record->end() || !looks->is_object()) return;
  for (const auto &item : looks->items()) {  // one that is no pair is missed by whoever needs it
    const json &pair = item.value();
    if (pair.is_array() && pair.size() == 2 && pair[0].is_number() && pair[1].is_number())
      manifest.looks[item.key()] = {pair[0].get<double>(), pair[1].get<double>()};
  }
}

Manifest manifest_from(const json &document) {
  const Node top(document, "");
  Manifest manifest;
  for (const char *key : {"samedge", "title", "intended_use"}) top.text(key);
  manifest.title = top.text("title");
  manifest.family = family_from(top.get("family"));
  manifest.variant = variant_from(top.node("variant"));
  manifest.files = files_from(top.node("files"));
  const Node graphs = top.node("graphs");
  for (const char *graph : {"encoder", "decoder"})
    manifest.graphs[graph] = graph_from(graphs.node(graph), manifest.files);
  manifest.questions = questions_from(top.node("source"));
  const Node tools = top.node("tools");
  for (const auto &tool : tools.data().items()) tools.text(tool.key());
  top.node("fold_report");
  manifest.parity = parity_from(top);
  set_calibration(document, manifest);
  return manifest;
}

}  // namespace

const TensorSpec *GraphIO::input(std::string_view name) const noexcept {
  for (const TensorSpec &spec : inputs)
    if (spec.name == name) return &spec;
  return nullptr;
}

const TensorSpec *GraphIO::output(std::string_view name) const noexcept {
  for (const TensorSpec &spec : outputs)
    if (spec.name == name) return &spec;
  return nullptr;
}

const GraphEntry *Manifest::graph(const std::string &graph, const std::string &key) const noexcept {
  const auto keys = graphs.find(graph);
  if (keys == graphs.end()) return nullptr;
  const auto found = keys->second.find(key);
  return found == keys->second.end() ? nullptr : &found->second;
}

Manifest parse_manifest(std::string_view data) {
  if (data.size() > kManifestBytes)
    fail(SAMEDGE_ERROR_BUNDLE, "%s is too large: %zu bytes, at most %zu are read; export the bundle again",
         kManifestFile, data.size(), kManifestBytes);
  try {
    const json document = parsed_json(data, kManifestFile);
    check_schema(document);
    check_digest(data);
    return manifest_from(document);
  } catch (const json::exception &error) {  // of a value that was not checked before it was taken
    fail(SAMEDGE_ERROR_BUNDLE, "%s cannot be read (%s)%s", kManifestFile, shown(error.what()).c_str(),
         kExportAgain);
  }
}

}  // namespace samedge
