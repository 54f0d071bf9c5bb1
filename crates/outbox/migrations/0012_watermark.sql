-- When `last` became what it is: a function tells by it how long a key has stood still. Empty where it is not known.
alter table oncebox.watermark add column if not exists moved_at timestamptz;
