#include "runtime/model.hpp"

#include "base/failure.hpp"
#include "base/log.hpp"
#include "runtime/choice.hpp"

namespace samedge {

namespace {

void add_line(std::string &lines, const std::string &line) {
  if (line.empty()) return;
  if (!lines.empty()) lines += '\n';
  lines += line;
}

}  // namespace

std::shared_ptr<Model> Model::open(const std::string &path, const samedge_model_options &given) {
  if (given.threads < 0)
    fail(SAMEDGE_ERROR_ARGUMENT, "threads is %d; expected 0 (the physical cores) or more", given.threads);
  if (given.device < 0)
    fail(SAMEDGE_ERROR_ARGUMENT, "device is %d; expected its number, from 0 up", given.device);
  if (given.hint != SAMEDGE_HINT_LATENCY && given.hint != SAMEDGE_HINT_THROUGHPUT)
    fail(SAMEDGE_ERROR_ARGUMENT, "hint is %d; expected SAMEDGE_HINT_LATENCY or SAMEDGE_HINT_THROUGHPUT",
         given.hint);
  const std::shared_ptr<const Bundle> bundle = Bundle::open(path);
  LoadOptions options;
  options.threads = given.threads == 0 ? physical_cores() : given.threads;
  options.device = given.device;
  options.throughput = given.hint == SAMEDGE_HINT_THROUGHPUT;
  options.engines = given.engines == nullptr ? "" : given.engines;
  Choice choice = choose(*bundle, given.backend, given.precision, std::move(options));

  auto model = std::make_shared<Model>();
  model->manifest_ = bundle->manifest();
  model->backend_ = choice.backend;
  model->options_ = choice.options;
  model->why_ = choice.why;
  if (choice.options.precision == Precision::int8 && !model->manifest_.looks.empty())
    model->looks_.emplace(model->manifest_.looks);
  const std::string key =
      graph_key(model->manifest_, *choice.backend, choice.options.precision, Graph::encoder);
  const TensorSpec *embedding = model->manifest_.graph("encoder", key)->io.output("image_embedding");
  if (embedding == nullptr)
    fail(SAMEDGE_ERROR_BUNDLE, "%s: its encoder gives no image_embedding; export the bundle again",
         bundle->name().c_str());
  model->embedding_shape_ = embedding->shape;
  for (const std::string &file : bundle->self_tests())
    model->self_tests_.emplace_back(file, bundle->read(file));
  model->loaded_ = choice.backend->load(*bundle, choice.options);
  model->device_ = model->loaded_->device_name();
  for (const std::string &question : model->manifest_.questions) {
    add_line(model->questions_, question);
    add_line(model->notes_, question);
  }
  for (const std::string &note : model->loaded_->notes()) add_line(model->notes_, note);
  log(SAMEDGE_LOG_INFO, "%s: %s", bundle->name().c_str(), model->why_.c_str());
  return model;
}

}  // namespace samedge
