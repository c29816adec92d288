# Seasonal and trend by R for src/stl/tests.rs, of series that come with R:  Rscript stl_r.R > stl_r.csv
# nottem: monthly temperatures at Nottingham Castle; co2: monthly carbon dioxide at Mauna Loa; UKgas: quarterly gas consumption.
print_parts <- function(name, series, fit) {
  parts <- fit$time.series
  cat(sprintf("%s,%.15g,%.13g,%.13g\n", name, series, parts[, "seasonal"], parts[, "trend"]), sep = "")
}
cat("set,value,seasonal,trend\n")
print_parts("nottem", nottem, stl(nottem, s.window = 7))
print_parts("co2 every value", log(co2), stl(log(co2), s.window = 21, s.jump = 1, t.jump = 1, l.jump = 1))
# Of an odd number of values: of an even one, R's Fortran finds two other sizes than the middle ones for its robustness weights now and then.
odd <- function(series) ts(head(series, length(series) - 1 + length(series) %% 2), frequency = frequency(series))
print_parts("nottem robust", odd(nottem), stl(odd(nottem), s.window = 7, robust = TRUE))
carbon <- odd(log(co2))
print_parts("co2 every value robust", carbon, stl(carbon, s.window = 21, s.jump = 1, t.jump = 1, l.jump = 1, robust = TRUE))
print_parts("UKgas robust", odd(log(UKgas)), stl(odd(log(UKgas)), s.window = 13, robust = TRUE))
