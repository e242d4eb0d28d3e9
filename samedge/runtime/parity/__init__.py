"""Does this device compute what the float32 reference computed, and if not, from where on?"""
