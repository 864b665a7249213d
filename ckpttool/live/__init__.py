"""Live models of Keras and TensorFlow: the part that runs other people's code, when it is asked."""
