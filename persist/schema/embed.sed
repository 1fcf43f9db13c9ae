# Turn a text into a C string literal per line.
s/\\/\\\\/g
s/"/\\"/g
s/^/"/
s/$/\\n"/
