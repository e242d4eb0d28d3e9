#include "runtime/session.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/clock.hpp"
#include "base/failure.hpp"
#include "runtime/choice.hpp"

namespace samedge {

namespace {

// What a session keeps for frames and for prompts of earlier sizes, beyond those of the last.
constexpr std::size_t kKeptBytes = std::size_t{256} << 20;
// Beyond this the way from low-res logits to the frame's size could overflow in float32.
constexpr float kLargest = 1e30F;

// Numbers for contents that do not change: unique in this process, so that an engine may copy once.
std::uint64_t next_constant() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

template <typename T>
Tensor view(std::vector<T> &values, Element element, const Shape &shape) noexcept {
  return Tensor{values.data(), element, shape, Memory::host};
}

template <typename T>
std::size_t bytes_of(const std::vector<T> &values) noexcept {
  return values.size() * sizeof(T);
}

void check_capacity(const void *buffer, std::size_t capacity, std::size_t needed, const char *name) {
  if (buffer != nullptr && capacity < needed)
    fail(SAMEDGE_ERROR_BUFFER, "%s has room for %zu elements; this answer needs %zu", name, capacity, needed);
}

}  // namespace

std::size_t FrameBuffers::bytes() const noexcept {
  return bytes_of(inputs.frame) + bytes_of(inputs.rows) + bytes_of(inputs.cols) + bytes_of(geometry.rows) +
         bytes_of(geometry.cols) + bytes_of(geometry.mask_rows) + bytes_of(geometry.mask_cols);
}

std::size_t DecoderBuffers::bytes() const noexcept {
  return bytes_of(coords) + bytes_of(labels) + bytes_of(mask_input) + bytes_of(masks) + bytes_of(low_res) +
         bytes_of(class_map);
}

Session::Session(std::shared_ptr<Model> model)
    : model_(std::move(model)),
      engines_(model_->open_engines()),
      embedding_(engines_->encoder().buffer("image_embedding")),
      frames_(4, kKeptBytes),
      decoders_(8, kKeptBytes) {
  encoder_outputs_.push_back({"image_embedding", embedding_, 0});
}

void Session::forget() noexcept {
  no_answer();
  timing_ = samedge_timing{};
}

void Session::no_answer() noexcept {
  answer_.there = false;
  answer_.masks.clear();
  answer_.class_map = nullptr;
  answer_.kept.clear();
  questions_ = 0;
}

void Session::set_frame(const samedge_frame &frame) {
  forget();
  frame_.reset();  // a frame that fails must not leave the one before it in its place
  const Family &family = model_->family();
  if (family.slices > 1)
    fail(SAMEDGE_ERROR_FRAME, "%s looks at %d slices of a volume at once; call samedge_segment_slices",
         family.title.c_str(), family.slices);
  if (frame.slices > 1)
    fail(SAMEDGE_ERROR_FRAME, "the frame has %d slices; call samedge_segment_slices for a volume",
         frame.slices);
  const auto start = Clock::now();
  encode(frame, 0);
  timing_.total = milliseconds(start, Clock::now());
}

void Session::predict(const samedge_prompts *prompts, samedge_result &result) {
  forget();
  const Family &family = model_->family();
  if (family.slices > 1)
    fail(SAMEDGE_ERROR_STATE, "%s has no single frame to prompt; call samedge_segment_slices with the "
         "prompts of every slice", family.title.c_str());
  const auto start = Clock::now();
  decode(prompts, &result, 0);
  timing_.total = milliseconds(start, Clock::now());
}

void Session::segment(const samedge_frame &frame, const samedge_prompts *prompts, samedge_result &result) {
  forget();
  const auto start = Clock::now();
  frame_.reset();
  check_room(result, masks_per_object(prompts) * static_cast<std::size_t>(object_count(prompts)),
             frame.height, frame.width);
  set_frame(frame);
  decode(prompts, &result, 0);
  timing_.total = milliseconds(start, Clock::now());
}

void Session::compute(const samedge_frame &frame, const samedge_prompts *prompts) {
  const auto start = Clock::now();
  set_frame(frame);
  decode(prompts, nullptr, 0);
  timing_.total = milliseconds(start, Clock::now());
}

void Session::segment_slices(const samedge_frame &frame, const samedge_prompts *const *prompts,
                             samedge_result *const *results) {
  forget();
  frame_.reset();
  const Family &family = model_->family();
  const int depth = std::max(frame.slices, 1);
  if (family.whole_volume && depth != family.slices)
    fail(SAMEDGE_ERROR_FRAME, "the volume has %d slices; this model relates all slices of a volume and was "
         "exported for %d: export the checkpoint again with --slices %d", depth, family.slices, depth);
  if (depth % family.slices != 0)
    fail(SAMEDGE_ERROR_FRAME, "the volume has %d slices; this model takes %d at a time: give a multiple of "
         "that", depth, family.slices);
  for (int slice = 0; slice < depth; ++slice) {
    if (results[slice] == nullptr || (prompts != nullptr && prompts[slice] == nullptr))
      fail(SAMEDGE_ERROR_ARGUMENT, "slice %d has no %s", slice,
           results[slice] == nullptr ? "result" : "prompts");
    const samedge_prompts *asked = prompts == nullptr ? nullptr : prompts[slice];
    check_room(*results[slice], masks_per_object(asked) * static_cast<std::size_t>(object_count(asked)),
               frame.height, frame.width);
  }
  const auto start = Clock::now();
  samedge_timing sum{};
  for (int first = 0; first < depth; first += family.slices) {
    encode(frame, first);
    for (int slice = 0; slice < family.slices; ++slice) {
      const int at = first + slice;
      decode(prompts == nullptr ? nullptr : prompts[at], results[at], slice);
      sum.copy_in += timing_.copy_in;
      sum.preprocess += timing_.preprocess;
      sum.encode += timing_.encode;
      sum.prompt += timing_.prompt;
      sum.decode += timing_.decode;
      sum.copy_out += timing_.copy_out;
      timing_ = samedge_timing{};
    }
  }
  timing_ = sum;
  timing_.total = milliseconds(start, Clock::now());
}

void Session::encode(const samedge_frame &given, int first_slice) {
  const auto start = Clock::now();
  frame_.reset();
  looks_.clear();
  const Family &family = model_->family();
  PixelView pixels = checked_frame(given, family);
  const Crop crop = checked_crop(given.crop, pixels.height, pixels.width);
  if (pixels.slices != 1 || family.slices > 1) {  // of a volume, those that are encoded together
    pixels.pixels += first_slice * pixels.slice_stride;
    pixels.slices = family.slices;
  }
  const std::shared_ptr<FrameBuffers> buffers = frame_buffers(pixels, crop);
  EncoderInputs &inputs = buffers->inputs;
  Tensor &frame = buffers->bindings[buffers->frame_binding].tensor;
  if (pixels.memory == SAMEDGE_CUDA) {
    if (inputs.transposed)
      fail(SAMEDGE_ERROR_NOT_SUPPORTED, "frames that are so tall have to lie in the host's memory for %s, "
           "because its resize begins with their vertical pass: copy the frame to the host first",
           family.title.c_str());
    const std::int64_t row = std::int64_t{pixels.width} * pixels.channels * (pixels.depth / 8);
    frame = engines_->cuda_frame(pixels.pixels, pixels.stride, row, pixels.height, pixels.slices,
                                 pixels.slice_stride, inputs.frame_shape);
  } else {
    copy_pixels(pixels, inputs.transposed, inputs.frame.data());
    frame = Tensor{inputs.frame.data(), Element::u8, inputs.frame_shape, Memory::host};
    if (model_->looks().has_value())
      model_->looks()->compare(inputs.frame.data(), pixels, crop, inputs.transposed, looks_);
  }
  const auto copied = Clock::now();
  const RunTimes times = engines_->encoder().run(buffers->bindings, encoder_outputs_);
  if (embedding_.memory == Memory::host)  // on a GPU the logits have to tell
    check_finite(static_cast<const float *>(embedding_.data), embedding_.shape.elements(), "image_embedding");
  timing_.copy_in = milliseconds(start, copied) + times.copy_in;
  timing_.preprocess = times.preprocess;
  timing_.encode = times.compute;
  frame_ = buffers;
}

void Session::decode(const samedge_prompts *prompts, samedge_result *result, int slice) {
  no_answer();
  if (frame_ == nullptr)
    fail(SAMEDGE_ERROR_STATE, "there is no frame to prompt; call samedge_set_frame first (a frame that was "
         "refused does not count), or samedge_segment");
  const std::size_t each = masks_per_object(prompts);
  if (result != nullptr)
    check_room(*result, each * static_cast<std::size_t>(object_count(prompts)), frame_->geometry.height,
               frame_->geometry.width);
  add_masks(prompts, nullptr, slice);
  put_in_order();
  if (result != nullptr) finish(*result);
}

const FrameGeometry &Session::begin(const samedge_frame &frame, std::size_t objects, samedge_result &result) {
  frame_.reset();
  check_room(result, objects, frame.height, frame.width);
  set_frame(frame);
  return frame_->geometry;
}

void Session::ask(const samedge_prompts &prompts, const std::int32_t *objects) {
  add_masks(&prompts, objects, 0);
}

void Session::blank(std::int32_t object) {
  const FrameGeometry &geometry = frame_->geometry;
  const auto side = static_cast<std::size_t>(geometry.low_res);
  // The memory of other blanks moves, but only before the first of an answer.
  blank_.resize(static_cast<std::size_t>(geometry.height) * static_cast<std::size_t>(geometry.width));
  blank_logits_.resize(side * side);
  answer_.width = geometry.width;
  answer_.height = geometry.height;
  answer_.low_res = geometry.low_res;
  answer_.masks.push_back({blank_.data(), blank_logits_.data(), 0.0F, object, 0});
}

void Session::finish(samedge_result &result) {
  const auto start = Clock::now();
  write(result);
  timing_.copy_out += milliseconds(start, Clock::now());
}

// Decode one question about the frame.
void Session::add_masks(const samedge_prompts *prompts, const std::int32_t *objects, int slice) {
  const auto start = Clock::now();
  const bool multimask = prompts != nullptr && prompts->multimask != 0;
  const FrameGeometry &geometry = frame_->geometry;
  const std::vector<PromptGroup> &groups = assembler_.assemble(model_->family(), geometry, prompts);
  const auto assembled = Clock::now();
  timing_.prompt += milliseconds(start, assembled);
  answer_.width = geometry.width;
  answer_.height = geometry.height;
  answer_.low_res = geometry.low_res;
  for (std::size_t i = 0; i < assembler_.groups(); ++i) run_decoder(groups[i], multimask, objects, slice);
  ++questions_;
  timing_.decode += milliseconds(assembled, Clock::now());
}

// The masks in the caller's order: they are an answer now.
void Session::put_in_order() noexcept {
  std::sort(answer_.masks.begin(), answer_.masks.end(), [](const AnswerMask &a, const AnswerMask &b) {
    return a.object != b.object ? a.object < b.object : a.structure < b.structure;
  });
  if (model_->family().classes.empty())
    for (AnswerMask &mask : answer_.masks) mask.structure = 0;
  answer_.there = true;
}

void Session::run_decoder(const PromptGroup &group, bool multimask, const std::int32_t *objects, int slice) {
  const FrameGeometry &geometry = frame_->geometry;
  const int count = static_cast<int>(group.objects.size());
  const DecoderKey key{count, group.length, std::max(group.mask_count, 1), multimask, geometry.height,
                       geometry.width, questions_};
  const std::shared_ptr<DecoderBuffers> buffers = decoder_buffers(key, group.length, geometry.low_res);
  std::copy(group.coords.begin(), group.coords.end(), buffers->coords.begin());
  std::copy(group.labels.begin(), group.labels.end(), buffers->labels.begin());
  if (!buffers->mask_input.empty()) {
    if (group.mask_count == 0)
      std::fill(buffers->mask_input.begin(), buffers->mask_input.end(), 0.0F);
    else
      std::copy(group.masks.begin(), group.masks.end(), buffers->mask_input.begin());
    std::fill(buffers->has_mask.begin(), buffers->has_mask.end(), group.mask_count == 0 ? 0.0F : 1.0F);
  }
  for (Binding &binding : buffers->inputs) {
    if (std::strcmp(binding.name, "image_embedding") == 0) {
      binding.tensor = embedding_;
      binding.tensor.shape.sides[0] = 1;
      binding.tensor.data = static_cast<char *>(embedding_.data) +
                            static_cast<std::size_t>(slice) * binding.tensor.bytes();
    } else if (std::strcmp(binding.name, "mask_rows") == 0) {
      binding.tensor = view(frame_->geometry.mask_rows, Element::f32, {geometry.height, geometry.low_res});
      binding.constant = frame_->constant;
    } else if (std::strcmp(binding.name, "mask_cols") == 0) {
      binding.tensor = view(frame_->geometry.mask_cols, Element::f32, {geometry.width, geometry.low_res});
      binding.constant = frame_->constant;
    }
  }
  const RunTimes times = engines_->decoder().run(buffers->inputs, buffers->outputs);
  timing_.copy_out += times.copy_out;
  check_finite(buffers->low_res.data(), buffers->low_res.size(), "low_res_logits");
  check_finite(buffers->scores.data(), buffers->scores.size(), "scores");
  const auto each = static_cast<std::size_t>(buffers->masks_per_object);
  const std::size_t pixels = static_cast<std::size_t>(geometry.height) * static_cast<std::size_t>(geometry.width);
  const std::size_t logits = static_cast<std::size_t>(geometry.low_res) * static_cast<std::size_t>(geometry.low_res);
  for (std::size_t i = 0; i < group.objects.size(); ++i) {
    const std::int32_t place = group.objects[i];
    const std::int32_t object = objects == nullptr ? place : objects[place];
    for (std::size_t k = 0; k < each; ++k) {
      const std::size_t at = i * each + k;
      answer_.masks.push_back({buffers->masks.data() + at * pixels, buffers->low_res.data() + at * logits,
                               buffers->scores[at], object, static_cast<std::int32_t>(k)});
    }
  }
  if (!buffers->class_map.empty() && answer_.class_map == nullptr) answer_.class_map = buffers->class_map.data();
  answer_.kept.push_back(buffers);
}

std::shared_ptr<FrameBuffers> Session::frame_buffers(const PixelView &pixels, const Crop &crop) {
  const FrameKey key{pixels.height, pixels.width, pixels.channels, pixels.depth, crop};
  return frames_.get(key, [&] {
    auto made = std::make_shared<FrameBuffers>();
    const Manifest &manifest = model_->manifest();
    made->geometry = frame_geometry(manifest.family, pixels.height, pixels.width, crop,
                                    manifest.variant.input_size, manifest.variant.low_res);
    made->inputs = encoder_inputs(manifest.family, made->geometry, pixels.channels, pixels.depth);
    made->constant = next_constant();
    const std::string graph =
        graph_key(manifest, model_->backend(), model_->options().precision, Graph::encoder);
    for (const TensorSpec &spec : manifest.graph("encoder", graph)->io.inputs) {
      const Tensor tensor = made->inputs.input(spec.name.c_str());
      if (tensor.data == nullptr)
        fail(SAMEDGE_ERROR_BUNDLE, "the encoder wants an input '%s' that this version of samedge does not "
             "know; use the version that wrote the bundle, or export it again", shown(spec.name).c_str());
      const bool frame = spec.name == "frame";
      if (frame) made->frame_binding = made->bindings.size();
      made->bindings.push_back({spec.name.c_str(), tensor, frame ? 0 : made->constant});
    }
    return made;
  });
}

std::shared_ptr<DecoderBuffers> Session::decoder_buffers(const DecoderKey &key, int tokens, int low_res) {
  return decoders_.get(key, [&] {
    auto made = std::make_shared<DecoderBuffers>();
    const Family &family = model_->family();
    const Manifest &manifest = model_->manifest();
    const std::string graph =
        graph_key(manifest, model_->backend(), model_->options().precision, Graph::decoder);
    const GraphIO &io = manifest.graph("decoder", graph)->io;
    std::vector<int> wanted = key.multimask ? family.multi_masks : std::vector<int>{family.single_mask};
    if (!family.classes.empty()) {
      wanted.clear();
      for (std::size_t i = 0; i < family.classes.size(); ++i) wanted.push_back(static_cast<int>(i));
    }
    made->mask_index.assign(wanted.begin(), wanted.end());
    const auto n = static_cast<std::size_t>(key.objects);
    const std::size_t masks = wanted.size(), length = static_cast<std::size_t>(tokens);
    const std::size_t pixels = static_cast<std::size_t>(key.height) * static_cast<std::size_t>(key.width);
    const std::size_t logits = static_cast<std::size_t>(low_res) * static_cast<std::size_t>(low_res);
    const std::int64_t objects = key.objects, k = static_cast<std::int64_t>(masks), l = low_res;
    made->objects = key.objects;
    made->masks_per_object = static_cast<int>(masks);
    made->coords.resize(n * length * 2);
    made->labels.resize(n * length);
    made->masks.resize(n * masks * pixels);
    made->scores.resize(n * masks);
    made->low_res.resize(n * masks * logits);
    if (io.input("mask_input") != nullptr) {
      made->mask_input.resize(static_cast<std::size_t>(key.masks) * logits);
      made->has_mask.resize(static_cast<std::size_t>(key.masks));
    }
    const auto input = [&](const char *name, const Tensor &tensor) {
      if (io.input(name) != nullptr) made->inputs.push_back({name, tensor, 0});
    };
    input("image_embedding", {});
    input("mask_rows", {});
    input("mask_cols", {});
    input("point_coords", view(made->coords, Element::f32, {objects, tokens, 2}));
    input("point_labels", view(made->labels, Element::i32, {objects, tokens}));
    input("mask_input", view(made->mask_input, Element::f32, {key.masks, 1, l, l}));
    input("has_mask", view(made->has_mask, Element::f32, {key.masks}));
    input("mask_index", view(made->mask_index, Element::i64, {k}));
    const auto output = [&](const char *name, const Tensor &tensor) {
      if (io.output(name) != nullptr) made->outputs.push_back({name, tensor, 0});
    };
    output("masks", view(made->masks, Element::u8, {objects, k, key.height, key.width}));
    output("scores", view(made->scores, Element::f32, {objects, k}));
    output("low_res_logits", view(made->low_res, Element::f32, {objects, k, l, l}));
    if (io.output("class_map") != nullptr) {
      made->class_map.resize(n * pixels);
      output("class_map", view(made->class_map, Element::u8, {objects, key.height, key.width}));
    }
    return made;
  });
}

void Session::check_finite(const float *values, std::size_t count, const char *name) const {
  // Two comparisons without a branch inside the loop, so that it is vectorised; NaN fails both.
  bool fine = true;
  for (std::size_t i = 0; i < count; ++i) fine &= (values[i] > -kLargest) & (values[i] < kLargest);
  if (fine) return;
  const Precision precision = model_->options().precision;
  fail(SAMEDGE_ERROR_NON_FINITE, "the network gave NaN or infinite numbers for this frame (%s, computed in %s), "
       "so there is no mask: %s", name, name_of(precision),
       precision != Precision::fp32
           ? "run this frame with SAMEDGE_FP32"
           : "do not use this bundle for such frames, and report it to whoever trained it");
}

std::size_t Session::masks_per_object(const samedge_prompts *prompts) const {
  const Family &family = model_->family();
  const bool multimask = prompts != nullptr && prompts->multimask != 0;
  if (multimask && family.multi_masks.empty())
    fail(SAMEDGE_ERROR_PROMPT, "%s has %s; leave multimask at 0", family.title.c_str(),
         family.classes.empty() ? "one mask per object" : "one mask per class");
  if (!family.classes.empty()) return family.classes.size();
  return multimask ? family.multi_masks.size() : 1;
}

void Session::check_room(samedge_result &result, std::size_t count, int height, int width) const {
  result.count = static_cast<std::int32_t>(count);
  result.height = height;
  result.width = width;
  result.low_res = model_->manifest().variant.low_res;
  result.has_class_map = model_->family().exclusive ? 1 : 0;
  if (height < kMinSide || width < kMinSide || height > kMaxSide || width > kMaxSide) return;  // refused later
  if (result.mask_value < 0 || result.mask_value > 255)
    fail(SAMEDGE_ERROR_ARGUMENT, "mask_value is %d; expected 1 to 255, or 0 for 1", result.mask_value);
  if (result.mask_stride != 0 && (result.mask_stride < width || result.mask_stride > (std::int64_t{1} << 31)))
    fail(SAMEDGE_ERROR_BUFFER, "mask_stride is %lld bytes; a row of a mask has %d",
         static_cast<long long>(result.mask_stride), width);
  const auto stride = static_cast<std::size_t>(result.mask_stride == 0 ? width : result.mask_stride);
  const auto rows = static_cast<std::size_t>(height), columns = static_cast<std::size_t>(width);
  const auto side = static_cast<std::size_t>(result.low_res);
  // The last row ends with its last px.
  const std::size_t masks = count == 0 ? 0 : (count * rows - 1) * stride + columns;
  check_capacity(result.masks, result.masks_capacity, masks, "masks");
  check_capacity(result.class_map, result.class_map_capacity, rows * columns, "class_map");
  check_capacity(result.scores, result.scores_capacity, count, "scores");
  check_capacity(result.object_index, result.object_index_capacity, count, "object_index");
  check_capacity(result.class_index, result.class_index_capacity, count, "class_index");
  check_capacity(result.boxes, result.boxes_capacity, 4 * count, "boxes");
  check_capacity(result.areas, result.areas_capacity, count, "areas");
  check_capacity(result.low_res_logits, result.low_res_capacity, count * side * side, "low_res_logits");
}

void Session::write(samedge_result &result) {
  const Answer &found = answer();
  check_room(result, found.masks.size(), found.height, found.width);
  const auto rows = static_cast<std::size_t>(found.height), columns = static_cast<std::size_t>(found.width);
  const auto stride = static_cast<std::size_t>(result.mask_stride == 0 ? found.width : result.mask_stride);
  const auto logits = static_cast<std::size_t>(found.low_res) * static_cast<std::size_t>(found.low_res);
  const auto value = static_cast<std::uint8_t>(result.mask_value == 0 ? 1 : result.mask_value);
  for (std::size_t i = 0; i < found.masks.size(); ++i) {
    const AnswerMask &mask = found.masks[i];
    if (result.masks != nullptr) {
      std::uint8_t *target = result.masks + i * rows * stride;
      if (stride == columns && value == 1) {
        std::memcpy(target, mask.mask, rows * columns);
      } else {
        for (std::size_t y = 0; y < rows; ++y)
          for (std::size_t x = 0; x < columns; ++x)
            target[y * stride + x] = static_cast<std::uint8_t>(mask.mask[y * columns + x] * value);
      }
    }
    if (result.scores != nullptr) result.scores[i] = mask.score;
    if (result.object_index != nullptr) result.object_index[i] = mask.object;
    if (result.class_index != nullptr) result.class_index[i] = mask.structure;
    if (result.low_res_logits != nullptr)
      std::memcpy(result.low_res_logits + i * logits, mask.low_res, logits * sizeof(float));
    if (result.boxes != nullptr || result.areas != nullptr) {
      std::int32_t box[4];
      std::int64_t area = 0;
      measure(mask.mask, found.height, found.width, box, &area);
      if (result.boxes != nullptr) std::copy(box, box + 4, result.boxes + 4 * i);
      if (result.areas != nullptr) result.areas[i] = area;
    }
  }
  result.has_class_map = found.class_map != nullptr ? 1 : 0;
  if (result.class_map != nullptr && found.class_map != nullptr)
    std::memcpy(result.class_map, found.class_map, rows * columns);
}

const Answer &Session::answer() const {
  if (!answer_.there)
    fail(SAMEDGE_ERROR_STATE, "there is no answer: the last call that computes failed, or there was none; "
         "call samedge_segment or samedge_predict first");
  return answer_;
}

void Session::embedding(float *target, std::size_t capacity) {
  if (frame_ == nullptr)
    fail(SAMEDGE_ERROR_STATE, "there is no frame; call samedge_set_frame first");
  const std::size_t needed = embedding_.shape.elements();
  if (capacity < needed)
    fail(SAMEDGE_ERROR_BUFFER, "the embedding has %zu floats; the buffer has room for %zu", needed, capacity);
  engines_->to_host(embedding_, target);
}

const char *Session::notes() {
  notes_ = model_->questions();
  if (!looks_.empty()) {
    if (!notes_.empty()) notes_ += '\n';
    notes_ += "looks unlike the frames that INT8 was calibrated with (" + looks_ +
              "): masks may be worse than its gate says. Take SAMEDGE_FP32 or SAMEDGE_BF16 for such frames, "
              "or calibrate with them (samedge export BUNDLE -o NEW --precision int8 --calibration FRAMES)";
  }
  return notes_.c_str();
}

}  // namespace samedge
