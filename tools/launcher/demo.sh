# x
command_demo(){ fail todo; }
