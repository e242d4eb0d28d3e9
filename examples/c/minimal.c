/* minimal BUNDLE FRAME.pgm X Y MASK.pgm: the mask of what lies at (X, Y), 255 inside and 0 outside. */
#include <samedge.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned char pixels[4096 * 4096], mask[4096 * 4096];

static int failed(const char *message) {
  fprintf(stderr, "%s\n", message);
  return 1;
}

int main(int count, char **arguments) {
  samedge_model *model = NULL;
  samedge_session *session = NULL;
  samedge_frame frame = {.struct_size = sizeof frame};
  samedge_prompts prompts = {.struct_size = sizeof prompts};
  samedge_result result = {.struct_size = sizeof result};
  if (count != 6) return failed("usage: minimal BUNDLE FRAME.pgm X Y MASK.pgm");
  FILE *file = fopen(arguments[2], "rb");
  if (file == NULL || fscanf(file, "P5 %d %d 255", &frame.width, &frame.height) != 2 || fgetc(file) == EOF ||
      frame.width < 1 || frame.width > 4096 || frame.height < 1 || frame.height > 4096 ||
      fread(pixels, (size_t)frame.width, (size_t)frame.height, file) != (size_t)frame.height)
    return failed("the frame is no binary PGM of 8 bits");
  fclose(file);
  frame.format = SAMEDGE_GREY8;
  frame.pixels = pixels;
  const double click[2] = {atof(arguments[3]), atof(arguments[4])};
  prompts.points = click;
  prompts.point_count = 1;
  result.masks = mask;
  result.masks_capacity = sizeof mask;
  result.mask_value = 255;
  if (samedge_model_open(arguments[1], NULL, &model) != SAMEDGE_OK ||
      samedge_session_create(model, &session) != SAMEDGE_OK ||
      samedge_segment(session, &frame, &prompts, &result) != SAMEDGE_OK)
    return failed(samedge_last_error());
  file = fopen(arguments[5], "wb");
  if (file == NULL || fprintf(file, "P5\n%d %d\n255\n", result.width, result.height) < 0 ||
      fwrite(mask, (size_t)result.width, (size_t)result.height, file) != (size_t)result.height ||
      fclose(file) != 0)
    return failed("the mask could not be written");
  samedge_session_destroy(session);
  samedge_model_close(model);
  return 0;
}
